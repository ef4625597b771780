// Reports a line of JSON for each test that has ended.

import { inspect } from "node:util";

const ENDED = ["test:pass", "test:fail"];

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (!ENDED.includes(type)) continue;
    const { error, duration_ms: milliseconds } = data.details;
    const said = error ? inspect(error.cause ?? error) : null;
    yield `${JSON.stringify({ name: data.name, milliseconds, error: said })}\n`;
  }
}
