// Package rest has a program take less memory while it has little to do, as the
// programs of a node have for most of the time that a cluster lives.
package rest

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

const (
	// garbagePercent is how much garbage a program that has started may have, of
	// what it keeps.
	garbagePercent = 50
	// A program is at rest that uses less than this part of a processor.
	restShare = 10
	// While it stays at rest, less than this part of what it has is not worth a
	// collection.
	gainShare = 8
)

// variable has the time in which a program starts, and after which it is looked at
// again and again, in Go's notation. Without it nothing happens: whoever else
// runs these programs has them as they were released.
const variable = "MAYFLY_TRIM_AFTER"

// GiveBackMemory returns to the system, in the background, what the program does
// not need any more: first when it has started, then whenever it comes to rest,
// and when it has grown by an eighth at rest. Go by itself returns memory over
// minutes, and not all of it.
func GiveBackMemory() {
	while, err := time.ParseDuration(os.Getenv(variable))
	if err != nil || while <= 0 {
		return
	}
	go giveBack(while)
}

func giveBack(while time.Duration) {
	time.Sleep(while)
	debug.SetGCPercent(garbagePercent)
	for {
		debug.FreeOSMemory()
		waitForMore(resident(), while)
	}
}

// waitForMore waits until the program is at rest and has more memory than it kept:
// any at all when it has just worked, for by itself it would keep that for good.
func waitForMore(kept uint64, while time.Duration) {
	least := kept + kept/gainShare
	for {
		before := processorTime()
		time.Sleep(while)
		if processorTime()-before >= while/restShare {
			least = kept
			continue
		}
		if resident() > least {
			return
		}
		least = kept + kept/gainShare
	}
}

// resident is how much memory Go has from the system, in bytes.
func resident() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// processorTime is what the program has used up to now.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
