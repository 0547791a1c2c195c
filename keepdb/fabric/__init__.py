"""How actors in different processes hear and speak to each other: pykka actors over ZeroMQ."""
