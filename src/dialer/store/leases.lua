-- Grants slots, day allowance and rate tokens to attempts, all or nothing for each, in one round trip for many batches.
--
-- Keys (all carry the hash tag {dialer}, so that one node of a Redis Cluster holds them):
--   {dialer}:epoch              string  marker: Redis knows every live attempt of the ledger, as of this epoch
--   {dialer}:deadlines          zset    attempt -> millisecond at which rescue must look at its lease
--   {dialer}:holds              hash    attempt -> the gates it is in, JSON list of keys
--   {dialer}:slots:<kind>:<id>  set     attempts that hold a slot of a batch, number or trunk
--   {dialer}:day:<id>:<date>    set     attempts that count toward the daily cap of a number
--   {dialer}:rate:<id>          zset    attempt -> millisecond of its grant, the last window of a trunk
--   {dialer}:cursor:<id>        string  the number that a batch used last (round robin)
--   {dialer}:asked:<work>       string  a task for this work is in the queue already (not used here)
--
-- KEYS: epoch, deadlines, holds, then every gate, rate and cursor key that ARGV[1] refers to by its index in KEYS.
-- ARGV[1]: JSON {now, look_at, batches, asks}
--   batches: [{cursor, gates: [[key, max]], routes: [{id, gates: [[key, max, name]], rate: [key, max, window]}]}]
--   asks:    [[attempt, batch, [route, ...]]]   the order in which to try routes; empty: round robin by the cursor
-- Returns JSON {epoch, granted: [[ask, route, at]], held: {batch: name}, free_at: {batch: millisecond}};
-- epoch is absent when Redis has lost its memory: then nothing is granted.

local epoch = redis.call('GET', KEYS[1])
if not epoch then
    return cjson.encode({ granted = {} })
end
local plan = cjson.decode(ARGV[1])
local taken, rate_now = {}, {}

local function room(gate)
    if not taken[gate[1]] then
        taken[gate[1]] = redis.call('SCARD', KEYS[gate[1]])
    end
    return taken[gate[1]] < gate[2]
end

-- The number of grants in the window that ends now. A worker whose clock is behind counts from the latest grant.
local function open_rate(rate)
    local key = rate[1]
    if not taken[key] then
        local last = redis.call('ZRANGE', KEYS[key], -1, -1, 'WITHSCORES')
        rate_now[key] = math.max(plan.now, tonumber(last[2] or 0))
        redis.call('ZREMRANGEBYSCORE', KEYS[key], '-inf', rate_now[key] - rate[3])
        taken[key] = redis.call('ZCARD', KEYS[key])
    end
    return taken[key] < rate[2]
end

local function blocked_by(route)
    for _, gate in ipairs(route.gates) do
        if not room(gate) then
            return gate[3]
        end
    end
    if route.rate and not open_rate(route.rate) then
        return 'rate'
    end
end

local function rate_free_at(rate)
    local oldest = redis.call('ZRANGE', KEYS[rate[1]], 0, 0, 'WITHSCORES')
    return tonumber(oldest[2] or rate_now[rate[1]]) + rate[3]
end

local function after_cursor(batch)
    local last = redis.call('GET', KEYS[batch.cursor])
    local first = 0
    for index, route in ipairs(batch.routes) do
        if route.id == last then
            first = index
        end
    end
    local order = {}
    for step = 0, #batch.routes - 1 do
        order[#order + 1] = (first + step) % #batch.routes
    end
    return order
end

local function hold(attempt, batch, route)
    local keys = {}
    local function enter(gate)
        redis.call('SADD', KEYS[gate[1]], attempt)
        taken[gate[1]] = taken[gate[1]] + 1
        keys[#keys + 1] = KEYS[gate[1]]
    end
    for _, gate in ipairs(batch.gates) do
        enter(gate)
    end
    for _, gate in ipairs(route.gates) do
        enter(gate)
    end
    local at = plan.now
    if route.rate then
        local key = route.rate[1]
        at = rate_now[key]
        redis.call('ZADD', KEYS[key], at, attempt)
        redis.call('PEXPIRE', KEYS[key], 10 * route.rate[3] + 60000)
        taken[key] = taken[key] + 1
        keys[#keys + 1] = KEYS[key]
    end
    redis.call('HSET', KEYS[3], attempt, cjson.encode(keys))
    redis.call('ZADD', KEYS[2], plan.look_at, attempt)
    if batch.cursor then
        redis.call('SET', KEYS[batch.cursor], route.id, 'EX', 604800)
    end
    return at
end

local granted, held, free_at = {}, {}, {}

local function grant(ask_index, ask)
    local name = tostring(ask[2])
    local batch = plan.batches[ask[2] + 1]
    -- A name holds once: the answer to an earlier ask was lost, and rescue frees what it took.
    if redis.call('HEXISTS', KEYS[3], ask[1]) == 1 then
        return
    end
    for _, gate in ipairs(batch.gates) do
        if not room(gate) then
            held[name] = gate[3]
            return
        end
    end
    local order = ask[3]
    if #order == 0 then
        order = after_cursor(batch)
    end
    local reason, at
    for _, index in ipairs(order) do
        local route = batch.routes[index + 1]
        local blocker = blocked_by(route)
        if not blocker then
            granted[#granted + 1] = { ask_index - 1, index, hold(ask[1], batch, route) }
            return
        end
        -- A rate comes first: it alone says when there will be room. A day comes last: it frees later than any call.
        if blocker == 'rate' then
            reason, at = blocker, math.min(at or math.huge, rate_free_at(route.rate))
        elseif not reason or reason == 'number_day' then
            reason = blocker
        end
    end
    if at or not free_at[name] then
        held[name] = reason
        free_at[name] = at and math.min(at, free_at[name] or math.huge)
    end
end

for index, ask in ipairs(plan.asks) do
    grant(index, ask)
end
return cjson.encode({ epoch = epoch, granted = granted, held = held, free_at = free_at })
