// The suite of @durable-streams/server-conformance-tests against the server at CONFORMANCE_TEST_URL.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({
  baseUrl: process.env.CONFORMANCE_TEST_URL,
  // The server answers a long-poll after a second. The tests may take this long, on a machine with other work.
  longPollTimeoutMs: 30_000,
});
