"""Files to tables and back; units and conventions are converted here and nowhere else."""
