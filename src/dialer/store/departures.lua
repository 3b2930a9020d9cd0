-- Passes the rate of a trunk where calls leave, over all workers: at most `limit` starts in any window, as its network
-- sees them, however long a request takes to get there (P2). Those that were planned first leave first.
--
-- A call counts from the moment at which it may leave until one window after it has surely begun. When that was is known
-- once it is answered: any request and answer take as long as the fastest of the last minutes, so it had begun at the
-- latest that long before its answer. A call whose answer is overdue may begin at any moment: it counts until then.
-- So does a call that has passed here and of which nobody has said that it has left: its worker may stand still.
-- Keys as in leases.lua.
--
-- KEYS: pace, sent, unanswered, planned, given_back
-- ARGV: 'leave', now, window, limit, attempt ...
--       Returns JSON {left, wait}: so many of the attempts leave now, the next may ask again after `wait` milliseconds.
-- ARGV: 'left', now, window, count, attempt ...              the first `count` leave now, the others do not leave
-- ARGV: 'answered', now, window, took, attempt ...            took: milliseconds from the request to its answer
-- ARGV: 'pause', now, milliseconds                            nothing leaves for so long: the network says so
-- ARGV: 'give_back', now, attempt ...                         they do not leave: others may leave at their times
-- now is '': by the clock of this server.

local now = tonumber(ARGV[2])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + time[2] / 1000
end
local KEPT = 86400000
-- So that two clocks that round in different ways do not make one call too many of it.
local MARGIN = 5
-- An answer that takes so much longer than the fastest is overdue; one that takes this long does not come.
local OVERDUE, LOST = 50, 20000
-- The fastest answer is that of this period and the one before: a network that has become slower is found to be so.
local PERIOD = 300000
-- Who is later than this is not waited for: its process may have died.
local ABSENT = 1000

local function kept(key, window)
    redis.call('PEXPIRE', key, (window or 0) + KEPT)
end

local function fastest()
    local found = redis.call('HMGET', KEYS[1], 'fastest', 'fastest_before')
    return math.min(tonumber(found[1] or 0), tonumber(found[2] or 0))
end

-- How long after it has left a call without an answer is overdue.
local function overdue_after(window)
    return math.max(window + MARGIN, fastest() + OVERDUE)
end

-- How many calls count toward the rate now.
local function counted(window)
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    -- Written before the clock was set back.
    redis.call('ZREMRANGEBYSCORE', KEYS[2], now + 2 * window + 60000, '+inf')
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - window - LOST)
    local overdue = redis.call('ZCOUNT', KEYS[3], '-inf', now - overdue_after(window))
    return redis.call('ZCARD', KEYS[2]) + overdue
end

-- When there may be room for one that has so many before it.
local function wait_for(room, ahead, window, limit)
    local places = ahead + 1 - room
    local frees_at = room <= 0 and redis.call('ZRANGE', KEYS[2], places - 1, places - 1, 'WITHSCORES')[2]
    return math.max(1, frees_at and tonumber(frees_at) - now or window / limit)
end

local function leave()
    local window, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
    -- What left in the window before is not known: the trunk had no rate, or Redis was rebuilt.
    local found = redis.call('HMGET', KEYS[1], 'counted_from', 'paused_until')
    local counted_from = tonumber(found[1])
    if not counted_from or counted_from > now then
        counted_from = now
        redis.call('HSET', KEYS[1], 'counted_from', now)
        kept(KEYS[1])
    end
    local closed_until = math.max(counted_from + window, tonumber(found[2] or 0))
    if closed_until > now then
        return cjson.encode({ left = 0, wait = closed_until - now })
    end
    local room, left, wait = limit - counted(window), 0, 0
    for index = 5, #ARGV do
        local planned = redis.call('ZSCORE', KEYS[4], ARGV[index]) or now
        local ahead = redis.call('ZCOUNT', KEYS[4], now - ABSENT, '(' .. planned)
        if ahead >= room then
            wait = wait_for(room, ahead, window, limit)
            break
        end
        redis.call('ZADD', KEYS[2], now + window + MARGIN, ARGV[index])
        -- Overdue as soon as its window is over, until it is said to have left.
        redis.call('ZADD', KEYS[3], now + window + MARGIN - overdue_after(window), ARGV[index])
        redis.call('ZREM', KEYS[4], ARGV[index])
        room, left = room - 1, left + 1
    end
    kept(KEYS[2], window)
    kept(KEYS[3], window)
    return cjson.encode({ left = left, wait = wait })
end

local function left()
    local window, count = tonumber(ARGV[3]), tonumber(ARGV[4])
    for index = 5, #ARGV do
        if index < 5 + count then
            redis.call('ZADD', KEYS[2], 'GT', now + window + MARGIN, ARGV[index])
            redis.call('ZADD', KEYS[3], now, ARGV[index])
        else
            redis.call('ZREM', KEYS[2], ARGV[index])
            redis.call('ZREM', KEYS[3], ARGV[index])
        end
    end
    kept(KEYS[2], window)
    kept(KEYS[3], window)
end

local function answered()
    local window, took = tonumber(ARGV[3]), tonumber(ARGV[4])
    local period = math.floor(now / PERIOD)
    local found = redis.call('HMGET', KEYS[1], 'period', 'fastest')
    if tonumber(found[1]) == period then
        redis.call('HSET', KEYS[1], 'fastest', math.min(took, tonumber(found[2])))
    else
        redis.call('HSET', KEYS[1], 'period', period, 'fastest_before', found[2] or took, 'fastest', took)
    end
    kept(KEYS[1])
    for index = 5, #ARGV do
        redis.call('ZREM', KEYS[3], ARGV[index])
        redis.call('ZADD', KEYS[2], 'GT', now - fastest() + window + MARGIN, ARGV[index])
    end
    kept(KEYS[2], window)
end

local function pause()
    local paused_until = tonumber(redis.call('HGET', KEYS[1], 'paused_until') or 0)
    redis.call('HSET', KEYS[1], 'paused_until', math.max(paused_until, now + tonumber(ARGV[3])))
    kept(KEYS[1])
end

local function give_back()
    for index = 3, #ARGV do
        local planned = redis.call('ZSCORE', KEYS[4], ARGV[index])
        if planned then
            redis.call('ZREM', KEYS[4], ARGV[index])
            redis.call('ZADD', KEYS[5], planned, ARGV[index])
        end
    end
    kept(KEYS[5])
end

if ARGV[1] == 'leave' then
    return leave()
elseif ARGV[1] == 'left' then
    left()
elseif ARGV[1] == 'answered' then
    answered()
elseif ARGV[1] == 'give_back' then
    give_back()
else
    pause()
end
