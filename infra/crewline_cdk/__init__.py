"""CDK constructs that deploy Crewline."""
