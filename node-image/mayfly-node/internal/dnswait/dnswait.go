// Package dnswait waits until the cluster's DNS answers, as a pod would ask it.
package dnswait

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"time"

	"mayfly.io/node-image/mayfly-node/internal/network"
)

const (
	// A lost packet must not cost more than the wait for the next one.
	answerWithin = 250 * time.Millisecond
	askEvery     = 20 * time.Millisecond
	// patience is how long pods may stay without an answer that their node gets.
	patience = 20 * time.Second
)

// errCutOff is a network that does not carry what pods send to other nodes.
var errCutOff = errors.New("pods are cut off")

// question is a name that is asked for until there is an answer.
type question struct {
	server string
	name   string
}

// Run asks a server for a name until it answers or the time is up: from an
// address of the node's pods where the network daemon has set them one aside, so
// that packets take a pod's way and not the node's.
func Run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("dns-wait", flag.ContinueOnError)
	server := flags.String("server", "", "address of the DNS Service")
	name := flags.String("name", "kubernetes.default.svc.cluster.local.", "name to ask for")
	timeout := flags.Duration("timeout", time.Minute, "when to give up")
	here := flags.Bool("here", false, "ask from an address of this network namespace's own, as inside of a pod")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	var from network.Spare
	if !*here {
		address, err := netip.ParseAddr(*server)
		if err != nil {
			return err
		}
		if from, err = network.SpareAddress(address); err != nil {
			return err
		}
		defer from.GiveBack()
	}
	err := question{*server, *name}.askUntilAnswered(ctx, from)
	if err != nil && !errors.Is(err, errCutOff) {
		return fmt.Errorf("no answer from %s within %s: %w", *server, *timeout, err)
	}
	return err
}

// askUntilAnswered gives up before its time where only the node gets answers.
func (q question) askUntilAnswered(ctx context.Context, from network.Spare) error {
	var nodeAnswered time.Time
	for {
		if err := from.Take(); err != nil {
			return err
		}
		err := q.ask(ctx, from.Addr)
		if err == nil {
			return nil
		}
		if from.IsValid() && nodeAnswered.IsZero() && q.ask(ctx, netip.Addr{}) == nil {
			nodeAnswered = time.Now()
		}
		if !nodeAnswered.IsZero() && time.Since(nodeAnswered) > patience {
			return fmt.Errorf("%w: %s answers the node, and not %s, an address of its pods: %w", errCutOff, q.server, from.Addr, err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askEvery):
		}
	}
}

// ask asks once, from an address of its own or, without one, from the node's.
func (q question) ask(ctx context.Context, from netip.Addr) error {
	ctx, done := context.WithTimeout(ctx, answerWithin)
	defer done()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, protocol, _ string) (net.Conn, error) {
		var dialer net.Dialer
		if from.IsValid() {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			if protocol == "tcp" {
				dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			}
		}
		return dialer.DialContext(ctx, protocol, net.JoinHostPort(q.server, "53"))
	}}
	_, err := resolver.LookupHost(ctx, q.name)
	return err
}
