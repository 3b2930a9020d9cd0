-- Passes the rate of a trunk where calls leave, over all workers: at most `limit` starts in any window, as its network
-- sees them, however long a request takes to get there (P2).
--
-- A call counts from the moment at which it may leave until one window after it has surely begun. When that was is known
-- once it is answered: the fastest answer of late shows how long any answer takes, and what took longer was late by the
-- difference. A call whose answer is overdue may begin at any moment, so it counts until it is answered.
-- Keys as in leases.lua.
--
-- KEYS: pace, sent, unanswered
-- ARGV: 'leave', now, window, limit, planned, attempt ...     planned: the millisecond for which the first was planned
--       Returns JSON {now, left, wait}: so many of the attempts leave now, the next after `wait` milliseconds.
-- ARGV: 'answered', now, window, left_at, attempt ...         left_at: `now` of when they left
-- ARGV: 'pause', now, milliseconds                            nothing leaves for so long: the network says so
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

local function kept(key)
    redis.call('PEXPIRE', key, KEPT)
end

local function leave()
    local window, limit, planned = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
    local paused_until = tonumber(redis.call('HGET', KEYS[1], 'paused_until') or 0)
    if paused_until > now then
        return cjson.encode({ now = now, left = 0, wait = paused_until - now })
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    -- Written before the clock was set back.
    redis.call('ZREMRANGEBYSCORE', KEYS[2], now + 2 * window + 60000, '+inf')
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - window - LOST)
    local fastest = tonumber(redis.call('HGET', KEYS[1], 'fastest') or 0)
    local overdue = redis.call('ZCOUNT', KEYS[3], '-inf', now - math.max(window + MARGIN, fastest + OVERDUE))
    local used, left, wait = redis.call('ZCARD', KEYS[2]) + overdue, 0, 0
    for index = 6, #ARGV do
        if used >= limit then
            local next_free = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
            wait = next_free and tonumber(next_free) - now or OVERDUE
            break
        end
        redis.call('ZADD', KEYS[2], now + window + MARGIN, ARGV[index])
        redis.call('ZADD', KEYS[3], now, ARGV[index])
        used, left = used + 1, left + 1
    end
    redis.call('PEXPIRE', KEYS[2], window + KEPT)
    redis.call('PEXPIRE', KEYS[3], window + KEPT)
    -- Where departures are late by more than a second, no more are planned until they have caught up.
    local late = math.min(now - planned, 3000) - 1000
    if late > 0 then
        redis.call('HSET', KEYS[1], 'behind_until', now + late)
        kept(KEYS[1])
    end
    return cjson.encode({ now = now, left = left, wait = math.max(wait, 1) })
end

local function answered()
    local window, took = tonumber(ARGV[3]), now - tonumber(ARGV[4])
    local fastest = tonumber(redis.call('HGET', KEYS[1], 'fastest') or took)
    -- A network that has become slower is found to be so, by a millisecond a call at most.
    fastest = math.min(took, fastest + math.min(1, math.max(0, took - fastest) / 20))
    redis.call('HSET', KEYS[1], 'fastest', fastest)
    kept(KEYS[1])
    for index = 5, #ARGV do
        redis.call('ZREM', KEYS[3], ARGV[index])
        redis.call('ZADD', KEYS[2], 'GT', now - fastest + window + MARGIN, ARGV[index])
    end
    redis.call('PEXPIRE', KEYS[2], window + KEPT)
end

local function pause()
    local paused_until = tonumber(redis.call('HGET', KEYS[1], 'paused_until') or 0)
    redis.call('HSET', KEYS[1], 'paused_until', math.max(paused_until, now + tonumber(ARGV[3])))
    kept(KEYS[1])
end

if ARGV[1] == 'leave' then
    return leave()
elseif ARGV[1] == 'answered' then
    answered()
else
    pause()
end
