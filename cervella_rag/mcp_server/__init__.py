"""The door for agents: the Model Context Protocol over stdio or HTTP."""
