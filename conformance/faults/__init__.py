"""Single faults in good result objects, each with the checks that must name it; written by conformance.mutations."""
