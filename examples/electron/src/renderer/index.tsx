// A window starts here: it takes the port that the preload passes on and draws what the database says.

import { connect } from "@keepdb/client";
import { KeepDBProvider } from "@keepdb/client/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import type { Schema } from "../generated/schema.js";
import { Hub } from "./hub.js";
import { Notices } from "./notices.js";
import "./styles.css";

const root = createRoot(document.getElementById("root") as HTMLElement);
const db = await connect<Schema>();
root.render(
  <StrictMode>
    <KeepDBProvider db={db}>
      <Notices>
        <Hub />
      </Notices>
    </KeepDBProvider>
  </StrictMode>,
);
