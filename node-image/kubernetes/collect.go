package main

import (
	"os"
	"runtime/debug"
	"time"
)

const (
	// How much the heap may grow before it is searched for garbage, in percent
	// of what is in use: at first, and Go's default later.
	firstPercent, laterPercent = 400, 100
	firstSeconds               = 15
)

// collectLater saves a starting server most of its garbage collections: what it
// allocates at first is what it will keep. The memory goes back soon after.
func collectLater() {
	if os.Getenv("GOGC") != "" {
		return // somebody has decided
	}
	debug.SetGCPercent(firstPercent)
	time.AfterFunc(firstSeconds*time.Second, func() { debug.SetGCPercent(laterPercent) })
}
