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
		worthIt := make(chan struct{})
		go func() {
			// Less than what comes, and more than a test may need by itself.
			waitForMore(kept+64*megabytes, 20*time.Millisecond)
			close(worthIt)
		}()
		select {
		case <-worthIt:
			t.Fatalf("round %d: there was nothing to give back", round)
		case <-time.After(200 * time.Millisecond):
		}

		held = make([]byte, 256*megabytes)
		for at := range held {
			held[at] = 1
		}
		held = nil
		<-worthIt
		if had := resident(); had < kept+200*megabytes {
			t.Fatalf("round %d: only %d MiB are there, of 256", round, (had-kept)/megabytes)
		}
		debug.FreeOSMemory()
		if still := resident(); still > kept+50*megabytes {
			t.Fatalf("round %d: %d MiB are still there, of %d at first", round, still/megabytes, kept/megabytes)
		}
	}
}

func TestAfterWorkEvenLittleIsGivenBack(t *testing.T) {
	const while = 20 * time.Millisecond
	debug.FreeOSMemory()
	has := resident()
	worthIt := make(chan struct{})
	go func() {
		// It has a fifteenth more than it kept.
		waitForMore(has-has/16, while)
		close(worthIt)
	}()
	select {
	case <-worthIt:
		t.Fatal("a fifteenth was worth a collection at rest")
	case <-time.After(20 * while):
	}
	for begun := time.Now(); time.Since(begun) < 5*while; {
	}
	<-worthIt
}
