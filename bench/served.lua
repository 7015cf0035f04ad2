-- Sends prepared requests in turn; REQUESTS names a file with one a line: connection string, token, body, with tabs.
local requests = {}
local next_request = 0

function init(args)
  for line in io.lines(os.getenv("REQUESTS")) do
    local connection, token, body = line:match("^(.-)\t(.-)\t(.*)$")
    requests[#requests + 1] = wrk.format("POST", "/sql", {
      ["Content-Type"] = "application/json",
      ["Neon-Connection-String"] = connection,
      ["Neon-Raw-Text-Output"] = "true",
      ["Neon-Array-Mode"] = "true",
      ["Authorization"] = "Bearer " .. token,
    }, body)
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency, errors)
  io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
