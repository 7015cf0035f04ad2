-- Sends prepared requests in turn; REQUESTS names a file with one JSON object a line: headers and body.
local requests = {}
local next_request = 0
local failed = 0

function init(args)
  local file = assert(io.open(os.getenv("REQUESTS"), "r"))
  for line in file:lines() do
    local url, connection, authorization, body = line:match("^(.-)\t(.-)\t(.-)\t(.*)$")
    local headers = {
      ["Content-Type"] = "application/json",
      ["Neon-Connection-String"] = connection,
      ["Neon-Raw-Text-Output"] = "true",
      ["Neon-Array-Mode"] = "true",
      ["Authorization"] = authorization,
    }
    requests[#requests + 1] = wrk.format("POST", url, headers, body)
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
  local errors = summary.errors
  io.write(string.format(
    "RESULT %d %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
