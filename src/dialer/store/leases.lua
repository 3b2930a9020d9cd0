-- Grants slots, day allowance and a time to leave to attempts, all or nothing for each, in one round trip for many batches.
--
-- Keys (all carry the hash tag {dialer}, so that one node of a Redis Cluster holds them):
--   {dialer}:epoch              string  marker: Redis knows every live attempt of the ledger, as of this epoch
--   {dialer}:run                string  the run of the server (run_id) that was loaded under that epoch
--   {dialer}:deadlines          zset    attempt -> millisecond at which rescue must look at its lease
--   {dialer}:holds              hash    attempt -> the gates it is in, JSON list of keys
--   {dialer}:slots:<kind>:<id>  set     attempts that hold a slot of a batch, number or trunk
--   {dialer}:day:<id>:<date>    set     attempts that count toward the daily cap of a number
--   {dialer}:loaded:<id>:<date> string  version of the number for which that set was loaded from the ledger
--   {dialer}:pace:<id>          hash    departures of a trunk, in milliseconds: next (the earliest time to plan another),
--                                       paused_until, and what departures.lua keeps there
--   {dialer}:sent:<id>          zset    attempt -> millisecond until which it counts toward the rate (departures.lua)
--   {dialer}:planned:<id>       zset    attempt -> millisecond for which its departure is planned, until it has left
--   {dialer}:given_back:<id>    zset    attempt -> millisecond that was planned for it and that another may use: it had no
--                                       contact (departures.lua)
--   {dialer}:unanswered:<id>    zset    attempt -> millisecond at which it left, until its network has answered
--   {dialer}:cursor:<id>        string  the number that a batch used last (round robin)
--   {dialer}:asked:<work>       string  a task for this work is in the queue already (not used here)
--   {dialer}:seen:<work>        string  a worker has begun this work lately (not used here)
--
-- KEYS: epoch, deadlines, holds, run, then every other key that ARGV[1] refers to by its index.
-- ARGV[1]: JSON {now, look_at, batches, asks}; now is absent: by the clock of this server
--   batches: [{cursor, gates: [gate], routes: [{id, gates: [gate], pace, planned, given_back, window, interval,
--             silence, horizon}]}]
--   gate:    [key, max, name, loaded, version]; the last two only for a day
--   asks:    [[attempt, batch, [route, ...]]]   the order in which to try routes; empty: round robin by the cursor
-- Returns JSON {epoch, loaded_on, now, granted: [[ask, route, leaves_at]], held: {batch: name}, free_at: {batch: ms}};
-- epoch is absent when Redis has lost its memory: then nothing is granted.

local epoch = redis.call('GET', KEYS[1])
if not epoch then
    return cjson.encode({ granted = {} })
end
local plan = cjson.decode(ARGV[1])
local now = plan.now
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local taken, paces = {}, {}
-- Whoever is later than this has not been waiting: its process has died.
local ABSENT = 5000

local function room(gate)
    -- A cap that is new, or a new day: the calls before it are in the ledger only, until rescue has loaded them.
    if gate[4] and redis.call('GET', KEYS[gate[4]]) ~= gate[5] then
        return false
    end
    if not taken[gate[1]] then
        taken[gate[1]] = redis.call('SCARD', KEYS[gate[1]])
    end
    return taken[gate[1]] < gate[2]
end

local function pace_of(route)
    local pace = paces[route.pace]
    if not pace then
        local found = redis.call('HMGET', KEYS[route.pace], 'next', 'paused_until')
        pace = { next = tonumber(found[1]), paused = tonumber(found[2]) or 0 }
        paces[route.pace] = pace
    end
    if route.interval then
        if not pace.next then
            -- Calls may have left while nobody counted them: the trunk had no rate, or Redis was rebuilt.
            pace.next = now + route.silence
            redis.call('HSET', KEYS[route.pace], 'next', pace.next)
            redis.call('HSETNX', KEYS[route.pace], 'counted_from', now + route.silence - route.window)
        elseif pace.next > now + math.max(route.horizon, route.silence) + route.interval then
            -- Planned at a lower rate, or before the clock was set back.
            pace.next = now + math.min(route.horizon, route.interval)
            redis.call('HSET', KEYS[route.pace], 'next', pace.next)
        end
        if not pace.planned then
            redis.call('ZREMRANGEBYSCORE', KEYS[route.planned], '-inf', now - ABSENT)
            pace.planned = redis.call('ZCARD', KEYS[route.planned])
            local usable_from = math.max(now - route.interval, pace.paused)
            redis.call('ZREMRANGEBYSCORE', KEYS[route.given_back], '-inf', '(' .. usable_from)
            -- Given back before the clock was set back.
            redis.call('ZREMRANGEBYSCORE', KEYS[route.given_back], '(' .. now + route.horizon, '+inf')
            pace.given_back = redis.call('ZRANGE', KEYS[route.given_back], 0, -1, 'WITHSCORES')
        end
    end
    return pace
end

-- The time at which a call of this route may leave; and the time from which it may be granted.
local function times(route)
    local pace = pace_of(route)
    if not route.interval then
        return math.max(now, pace.paused), pace.paused
    end
    local leaves_at = math.max(now, tonumber(pace.given_back[2]) or pace.next, pace.paused)
    -- As many as the rate lets leave until the horizon, even if those that are planned are late.
    local is_full = pace.planned > route.horizon / route.interval
    return leaves_at, math.max(leaves_at - route.horizon, is_full and now + math.ceil(route.interval) or 0)
end

local function blocked_by(route)
    for _, gate in ipairs(route.gates) do
        if not room(gate) then
            return gate[3]
        end
    end
    local _, free_at = times(route)
    if free_at > now then
        return 'rate', free_at
    end
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
    local exactly = times(route)
    -- Whole milliseconds, but the next is planned from the exact time: rounding must not add up to a lower rate (P6).
    local leaves_at = math.ceil(exactly)
    if route.interval then
        local pace = pace_of(route)
        pace.planned = pace.planned + 1
        if #pace.given_back > 0 then
            redis.call('ZREM', KEYS[route.given_back], table.remove(pace.given_back, 1))
            table.remove(pace.given_back, 1)
        else
            pace.next = exactly + route.interval
            redis.call('HSET', KEYS[route.pace], 'next', pace.next)
        end
        redis.call('ZADD', KEYS[route.planned], leaves_at, attempt)
        keys[#keys + 1] = KEYS[route.planned]
        -- After a day without a call the next one is a little late, and the key is not kept for ever.
        redis.call('PEXPIRE', KEYS[route.pace], 86400000)
        redis.call('PEXPIRE', KEYS[route.planned], 86400000)
    end
    redis.call('HSET', KEYS[3], attempt, cjson.encode(keys))
    redis.call('ZADD', KEYS[2], plan.look_at, attempt)
    if batch.cursor then
        redis.call('SET', KEYS[batch.cursor], route.id, 'EX', 604800)
    end
    return leaves_at
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
        local blocker, free = blocked_by(route)
        if not blocker then
            granted[#granted + 1] = { ask_index - 1, index, hold(ask[1], batch, route) }
            return
        end
        -- A rate comes first: it alone says when there will be room. A day comes last: it frees later than any call.
        if blocker == 'rate' then
            reason, at = blocker, math.min(at or math.huge, math.ceil(free))
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
local loaded_on = redis.call('GET', KEYS[4]) or nil
return cjson.encode({ epoch = epoch, loaded_on = loaded_on, now = now, granted = granted, held = held, free_at = free_at })
