// Package telemetry sets up what the program says about itself: structured logs. Secrets are kept out twice, by the
// code that logs and by a guard here that looks at every key and value. It decides nothing about what is logged.
package telemetry
