import { Client } from "sdk-2.0";

import { clientScenarios } from "./clients.mjs";
import { play } from "./services.mjs";

await play(clientScenarios(Client));
