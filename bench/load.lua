-- Sends prepared requests in turn; REQUESTS names a file with one a line: method, path, body, and pairs of header name
-- and value, all with tabs between. Prints each latency (microseconds) with its count, and the totals.
local requests = {}
local next_request = 0

function init(args)
  local file = assert(io.open(os.getenv("REQUESTS"), "r"))
  for line in file:lines() do
    local fields = {}
    for field in (line .. "\t"):gmatch("(.-)\t") do
      fields[#fields + 1] = field
    end
    local headers = {}
    for index = 4, #fields - 1, 2 do
      headers[fields[index]] = fields[index + 1]
    end
    local body = fields[3]
    if body == "" then
      body = nil
    end
    requests[#requests + 1] = wrk.format(fields[1], fields[2], headers, body)
  end
  file:close()
  math.randomseed(os.time())
  next_request = math.random(#requests)
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency, errors_of_wrk)
  for index = 1, #latency do
    local microseconds, count = latency(index)
    io.write(string.format("LATENCY %d %d\n", microseconds, count))
  end
  local errors = summary.errors
  io.write(string.format(
    "RESULT %d %d %d\n",
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
