-- Sends prepared requests in turn; REQUESTS names a file with one a line: connection string, token, body, with tabs. A
-- single one is written once and sent again and again, which takes wrk a third of the time.
local requests = {}
local next_request = 0

for line in io.lines(os.getenv("REQUESTS")) do
  local connection, token, body = line:match("^(.-)\t(.-)\t(.*)$")
  requests[#requests + 1] = {
    headers = {
      ["Content-Type"] = "application/json",
      ["Neon-Connection-String"] = connection,
      ["Neon-Raw-Text-Output"] = "true",
      ["Neon-Array-Mode"] = "true",
      ["Authorization"] = "Bearer " .. token,
    },
    body = body,
  }
end

if #requests == 1 then
  wrk.method = "POST"
  wrk.headers = requests[1].headers
  wrk.body = requests[1].body
else
  function init(args)
    for number, one in ipairs(requests) do
      requests[number] = wrk.format("POST", nil, one.headers, one.body)
    end
  end

  function request()
    next_request = next_request % #requests + 1
    return requests[next_request]
  end
end

function done(summary, latency, errors)
  io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
