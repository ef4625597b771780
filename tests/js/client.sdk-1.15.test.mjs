import { Client } from "sdk-1.15";

import { clientScenarios, threadStreamScenarios } from "./clients.mjs";
import { play } from "./services.mjs";

await play({ ...clientScenarios(Client), ...threadStreamScenarios(Client) });
