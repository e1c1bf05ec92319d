// Package clean runs operations that do not leak, over the libraries that services use, and counts
// the false alarms of NoGrowth and Check. LEAKSAFE_LONG=1 makes that 30,000 runs and 300,000
// checks; LEAKSAFE_CLEAN_RUNS=n makes it n runs and 10n checks.
package clean
