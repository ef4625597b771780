import { Client } from "sdk-2.0";
import { useStream } from "sdk-2.0/react";

import { runsApp } from "./apps.mjs";
import { conversations } from "./conversations.mjs";
import { play } from "./services.mjs";

await play(conversations(runsApp({ Client, useStream })));
