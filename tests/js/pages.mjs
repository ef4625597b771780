// Pages of a browser, without the browser: each one mounts a React component that calls a hook, and has
// connections of its own, which break when it closes.

import { Window } from "happy-dom";

import { TIME_SCALE } from "./services.mjs";

const window = new Window({ url: "http://localhost/" });
Object.assign(globalThis, { window, document: window.document });
globalThis.navigator ??= window.navigator;

// react-dom looks for a window while it is imported.
const { createElement, useEffect, useState } = await import("react");
const { createRoot } = await import("react-dom/client");

const PATIENCE = 15_000 * TIME_SCALE;

/** Say what a message has to say, whichever way it is written down. */
export function text({ content }) {
  return typeof content === "string" ? content : content.map((block) => block.text ?? "").join("");
}

/**
 * Open a page on a thread, or on none yet.
 *
 * @param useStream The hook.
 * @param options What it is called with, `threadId` and `onThreadId` apart: the page keeps the thread.
 * @param threadId The thread that the page is opened on.
 * @param network What `connections` gave.
 */
export async function openPage(useStream, options, threadId, network) {
  const page = { stream: null, threadId, shown: [] };
  const changed = new Set();

  function Screen() {
    const [current, setCurrent] = useState(threadId);
    const stream = useStream({ ...options, threadId: current, onThreadId: setCurrent });
    const screen = {
      // Reading them in a render is what subscribes to them.
      texts: stream.messages.map(text),
      values: stream.values,
      interrupt: stream.interrupt?.value,
      busy: stream.isLoading || stream.isThreadLoading,
      error: stream.error,
    };
    useEffect(() => {
      Object.assign(page, { stream, threadId: current });
      page.shown.push(screen);
      for (const look of changed) look();
    });
    return null;
  }

  const root = createRoot(window.document.createElement("div"));
  const first = new Promise((resolve) => changed.add(resolve));
  root.render(createElement(Screen));

  /** Wait until the screen is as wanted, and give it; fail at once where it stands still with an error. */
  page.until = (what, wanted) =>
    new Promise((resolve, reject) => {
      const end = (settle, value) => {
        changed.delete(look);
        clearTimeout(timer);
        settle(value);
      };
      const fail = () => end(reject, new Error(`No screen with ${what}; ${described()}`));
      const look = () => {
        const screen = page.shown.at(-1);
        if (screen && wanted(screen)) end(resolve, screen);
        else if (screen?.error && !screen.busy) fail();
      };
      const timer = setTimeout(fail, PATIENCE);
      changed.add(look);
      look();
    });

  function described() {
    const plain = (_, value) => (value instanceof Error ? String(value) : value);
    const asked = network.requests.map((one) => `${one.status} ${one.method} ${one.path} ${one.body ?? ""}`);
    return `the last: ${JSON.stringify(page.shown.at(-1), plain)}\nRequests:\n${asked.join("\n")}`;
  }

  page.settled = (what, wanted = () => true) => page.until(what, (screen) => !screen.busy && wanted(screen));

  /** Go to another view. */
  page.close = () => root.unmount();

  /** Leave as a browser does on a reload: whatever is open breaks. */
  page.leave = () => {
    network.cut();
    root.unmount();
  };

  await first;
  return page;
}
