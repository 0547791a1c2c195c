// Passes the database's port from the main process on to the page. It gives the page nothing else.

import "@keepdb/client/preload";
