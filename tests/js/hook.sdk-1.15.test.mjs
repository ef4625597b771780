import { Client } from "sdk-1.15";
import { useStream } from "sdk-1.15/react";

import { runsApp } from "./apps.mjs";
import { conversations } from "./conversations.mjs";
import { play } from "./services.mjs";

await play(conversations(runsApp({ Client, useStream })));
