// The service that is tested, and what every scenario needs.

import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

export const URL_OF_SERVICE = process.env.SERVICE_URL;
if (!URL_OF_SERVICE) throw new Error("Set SERVICE_URL to where the service answers.");

/** By how much everything may take longer than on a laptop. */
export const TIME_SCALE = Number(process.env.TIME_SCALE ?? 1);

/** The input of a graph that talks. */
export const says = (content) => ({ messages: [{ type: "human", content }] });

/** Wait until nothing runs in a thread, and say how its runs ended, newest first. */
export async function statuses(client, threadId) {
  for (;;) {
    const { status } = await client.threads.get(threadId);
    if (status !== "busy") return (await client.runs.list(threadId)).map((run) => run.status);
    await pause(50);
  }
}

/** Give a fetch that notes what is asked, and a way to break whatever is open. */
export function connections() {
  const cable = new AbortController();
  const requests = [];
  const watched = async (input, init = {}) => {
    const signal = init.signal ? AbortSignal.any([init.signal, cable.signal]) : cable.signal;
    const { pathname, search } = new URL(input instanceof Request ? input.url : input);
    const request = { method: init.method ?? "GET", path: pathname + search, body: init.body, status: null };
    requests.push(request);
    const response = await fetch(input, { ...init, signal });
    request.status = response.status;
    return response;
  };
  return { fetch: watched, requests, cut: () => cable.abort() };
}

/** Run scenarios one after the other; then end, whatever a client still has open. */
export async function play(scenarios) {
  for (const [name, scenario] of Object.entries(scenarios)) await test(name, { timeout: 30_000 * TIME_SCALE }, scenario);
  setTimeout(() => process.exit(), 1000).unref(); // the last report is still on its way
}
