// Package dnswait waits until the cluster's DNS answers, as a pod would ask it.
package dnswait

import (
	"context"
	"flag"
	"fmt"
	"net"
	"time"
)

const (
	// A lost packet must not cost more than the wait for the next one.
	answerWithin = 250 * time.Millisecond
	askEvery     = 20 * time.Millisecond
)

// Run asks a server for a name until it answers or the time is up.
func Run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("dns-wait", flag.ContinueOnError)
	server := flags.String("server", "", "address of the DNS Service")
	name := flags.String("name", "kubernetes.default.svc.cluster.local.", "name to ask for")
	timeout := flags.Duration("timeout", time.Minute, "when to give up")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(*server, "53"))
	}}
	for {
		attempt, done := context.WithTimeout(ctx, answerWithin)
		_, err := resolver.LookupHost(attempt, *name)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer from %s within %s: %w", *server, *timeout, err)
		case <-time.After(askEvery):
		}
	}
}
