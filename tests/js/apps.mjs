// The two generations of `useStream`, each behind the few words in which the scenarios speak.

import { openPage } from "./pages.mjs";
import { connections, URL_OF_SERVICE } from "./services.mjs";

function clientOf(Client, network) {
  return new Client({ apiUrl: URL_OF_SERVICE, callerOptions: network && { fetch: network.fetch } });
}

/** `useStream` of @langchain/langgraph-sdk/react: runs/stream, and history from which it draws branches. */
export function runsApp({ Client, useStream }) {
  return {
    client: clientOf(Client),
    open(assistantId, { threadId = null, ...options } = {}) {
      const network = connections();
      const client = clientOf(Client, network);
      const all = { client, assistantId, fetchStateHistory: true, ...options };
      return openPage(useStream, all, threadId, network);
    },
    reconnecting: { reconnectOnMount: true },
    answer: (page, response) => page.stream.submit(undefined, { command: { resume: response } }),
    loadings: [{ fetchStateHistory: false }, { fetchStateHistory: { limit: 3 } }, {}],
    forkFrom: ({ parent_checkpoint: checkpoint }) => ({ checkpoint }),
    /** Which other branches a message has; what shows one of them. */
    branches(page, place) {
      const { branch, branchOptions = [] } =
        page.stream.getMessagesMetadata(page.stream.messages[place], place) ?? {};
      return branchOptions.filter((option) => option !== branch);
    },
  };
}

/** `useStream` of @langchain/react: commands and stream/events. */
export function threadApp({ Client, useStream }) {
  return {
    client: clientOf(Client),
    open(assistantId, { threadId = null, ...options } = {}) {
      const network = connections();
      const client = clientOf(Client, network);
      return openPage(
        useStream,
        { client, fetch: network.fetch, assistantId, ...options },
        threadId,
        network,
      );
    },
    reconnecting: {},
    answer: (page, response) => page.stream.respond(response, { interruptId: page.stream.interrupt.id }),
    loadings: [{}],
    forkFrom: ({ parent_checkpoint: checkpoint }) => ({ forkFrom: checkpoint.checkpoint_id }),
    branches: null, // it knows none
  };
}
