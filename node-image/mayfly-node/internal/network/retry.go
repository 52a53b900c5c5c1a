package network

import "time"

// retry is how long to pause after each failure in a row: 100 ms, doubling to
// at most 5 s.
type retry struct{ pause time.Duration }

func (r *retry) next() time.Duration {
	r.pause = min(max(2*r.pause, 100*time.Millisecond), 5*time.Second)
	return r.pause
}

func (r *retry) reset() { r.pause = 0 }

func (r *retry) failing() bool { return r.pause > 0 }
