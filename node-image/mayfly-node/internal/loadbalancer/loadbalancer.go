// Package loadbalancer spreads connections over the API servers of a cluster
// with several control planes. It passes bytes on and terminates no TLS.
package loadbalancer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
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
	backends := flags.String("backends", "", "addresses of the API servers, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *backends == "" {
		return errors.New("-backends names no API server")
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	return Serve(ctx, listener, strings.Split(*backends, ","))
}

// Serve passes each connection on to the next backend that takes it.
func Serve(ctx context.Context, listener net.Listener, backends []string) error {
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
			server, err := dial(ctx, backends, int(turn.Add(1)%uint64(len(backends))))
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
