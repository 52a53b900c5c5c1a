// Package loadbalancer spreads connections over the API servers of a cluster
// with several control planes. It passes bytes on and terminates no TLS.
package loadbalancer

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A server that does not take a connection at once is not one to wait for:
// the next one is on the same machine.
const dialWithin = time.Second

// Run listens until its context ends.
func Run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("loadbalancer", flag.ContinueOnError)
	listen := flags.String("listen", ":6443", "address to listen on")
	backends := flags.String("backends", "", "file with the addresses of the API servers, as a JSON list")
	if err := flags.Parse(args); err != nil {
		return err
	}
	servers := &serverList{path: *backends}
	if _, err := servers.current(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	return Serve(ctx, listener, servers.current)
}

// serverList is a file that is read again when it has changed.
type serverList struct {
	path     string
	mutex    sync.Mutex
	modified time.Time
	last     []string
}

// current is the list as it is now. One that is only half written is none: the
// list before it is good enough meanwhile.
func (s *serverList) current() ([]string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	info, err := os.Stat(s.path)
	if err == nil && info.ModTime().Equal(s.modified) {
		return s.last, nil
	}
	var list []string
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(s.path)
	}
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s names no API server", s.path)
	}
	switch {
	case err == nil:
		s.last, s.modified = list, info.ModTime()
	case s.last == nil:
		return nil, err
	}
	return s.last, nil
}

// Serve passes each connection on to the next backend that takes it.
func Serve(ctx context.Context, listener net.Listener, backends func() ([]string, error)) error {
	var turn atomic.Uint64
	for {
		client, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		go func() {
			defer client.Close()
			servers, err := backends()
			if err != nil {
				log.Print(err)
				return
			}
			server, err := dial(ctx, servers, int(turn.Add(1)%uint64(len(servers))))
			if err != nil {
				log.Printf("connection from %s: %v", client.RemoteAddr(), err)
				return
			}
			defer server.Close()
			splice(client, server)
		}()
	}
}

func dial(ctx context.Context, backends []string, first int) (net.Conn, error) {
	var failures []error
	for i := range backends {
		backend := backends[(first+i)%len(backends)]
		attempt, cancel := context.WithTimeout(ctx, dialWithin)
		server, err := (&net.Dialer{}).DialContext(attempt, "tcp", backend)
		cancel()
		if err == nil {
			return server, nil
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("no API server takes it: %w", errors.Join(failures...))
}

// splice copies both ways until both are at an end, and tells each side when
// the other has no more to say.
func splice(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			from, to := pair[0], pair[1]
			io.Copy(to, from)
			if half, ok := to.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
			}
		})
	}
	both.Wait()
}
