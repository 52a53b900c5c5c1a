package images

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	chunkSize = 256 << 10
	// chunksAhead bounds what waits in memory.
	chunksAhead = 16
)

// readAhead reads while what it gave is hashed and written, so that whoever
// writes does not wait for each chunk of it: on a virtual machine it takes longer
// to wake a process up than to copy what a pipe holds.
type readAhead struct {
	chunks chan []byte
	free   chan []byte
	rest   []byte
	chunk  []byte
	failed error
}

func newReadAhead(from *os.File) *readAhead {
	// As large as anybody may make a pipe; without it, it is slower.
	_, _ = unix.FcntlInt(from.Fd(), unix.F_SETPIPE_SZ, 1<<20)
	r := &readAhead{chunks: make(chan []byte, chunksAhead), free: make(chan []byte, chunksAhead+2)}
	for range cap(r.free) {
		r.free <- nil
	}
	go r.fill(from)
	return r
}

func (r *readAhead) fill(from io.Reader) {
	defer close(r.chunks)
	for chunk := range r.free {
		if chunk == nil {
			chunk = make([]byte, chunkSize)
		}
		n, err := from.Read(chunk)
		if n > 0 {
			r.chunks <- chunk[:n]
		}
		if err != nil {
			r.failed = err // told once all that came before is read
			return
		}
		if n == 0 {
			r.free <- chunk
		}
	}
}

func (r *readAhead) Read(into []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.chunk != nil {
			r.free <- r.chunk[:cap(r.chunk)]
			r.chunk = nil
		}
		chunk, more := <-r.chunks
		if !more {
			return 0, r.failed
		}
		r.chunk, r.rest = chunk, chunk
	}
	n := copy(into, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
