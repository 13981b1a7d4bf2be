"""Parameters, jobs, the registry of methods, inputs, results and transforms."""
