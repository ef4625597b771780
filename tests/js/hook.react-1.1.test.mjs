import { Client } from "@langchain/langgraph-sdk";
import { useStream } from "@langchain/react";

import { threadApp } from "./apps.mjs";
import { conversations } from "./conversations.mjs";
import { play } from "./services.mjs";

await play(conversations(threadApp({ Client, useStream })));
