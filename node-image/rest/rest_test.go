package rest

import (
	"runtime/debug"
	"testing"
	"time"
)

const megabytes = 1 << 20

var held []byte

func TestMemoryIsGivenBackAtRestAndAgainLater(t *testing.T) {
	for round := range 2 {
		debug.FreeOSMemory()
		kept := resident()
		held = make([]byte, 256*megabytes)
		for at := range held {
			held[at] = 1
		}
		if had := resident(); had < 256*megabytes {
			t.Fatalf("round %d: only %d MiB of 256 are there", round, had/megabytes)
		}
		held = nil
		waitForMore(kept, 20*time.Millisecond)
		debug.FreeOSMemory()
		if still := resident(); still > kept+50*megabytes {
			t.Fatalf("round %d: %d MiB are still there, of %d at first", round, still/megabytes, kept/megabytes)
		}
	}
}
