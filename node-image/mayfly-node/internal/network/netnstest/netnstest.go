// Package netnstest makes network namespaces for tests, and real connections
// between them. A test that uses it needs root, and iproute2 and nftables on
// the host; it is skipped elsewhere.
package netnstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// Namespace is a network namespace that lasts as long as the test.
type Namespace struct {
	name   string
	handle netns.NsHandle
}

var made atomic.Int32

// New makes a namespace with its loopback up. IPv6 addresses work there from
// the moment they are added.
func New(t *testing.T) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, command := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("no command %s on this host", command)
		}
	}
	n := &Namespace{name: fmt.Sprintf("mayfly-test-%d-%d", os.Getpid(), made.Add(1))}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Skipf("no network namespaces on this host: %v: %s", err, out)
	}
	t.Cleanup(func() {
		n.handle.Close()
		_ = exec.Command("ip", "netns", "delete", n.name).Run()
	})
	var err error
	if n.handle, err = netns.GetFromName(n.name); err != nil {
		t.Fatal(err)
	}
	n.IP(t, "link set lo up")
	n.Run(t, "sysctl -qw net.ipv6.conf.default.accept_dad=0")
	return n
}

// IP runs `ip` with args, separated by spaces, in the namespace.
func (n *Namespace) IP(t *testing.T, args string) string {
	t.Helper()
	return n.Run(t, "ip "+args)
}

// Run runs a command, its words separated by spaces, in the namespace.
func (n *Namespace) Run(t *testing.T, command string) string {
	t.Helper()
	words := append([]string{"netns", "exec", n.name}, strings.Fields(command)...)
	out, err := exec.Command("ip", words...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// Do calls f on a thread in the namespace: what f runs, and the sockets it
// opens itself, are in there. Goroutines that f starts are not.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so that no other
		// one finds itself in the namespace.
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// Link connects two namespaces by a pair of interfaces, each up and named as
// given.
func Link(t *testing.T, a *Namespace, aName string, b *Namespace, bName string) {
	t.Helper()
	a.IP(t, fmt.Sprintf("link add %s type veth peer name %s netns %s", aName, bName, b.name))
	a.IP(t, "link set "+aName+" up")
	b.IP(t, "link set "+bName+" up")
}

// Forward makes a router of the namespace, without which nothing is forwarded.
func (n *Namespace) Forward(t *testing.T) {
	t.Helper()
	n.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
}

// Serve answers on address with the address that the peer seems to have, until
// the test ends. network is tcp or udp.
func (n *Namespace) Serve(t *testing.T, network string, address netip.AddrPort) {
	t.Helper()
	err := n.Do(func() error {
		if network == "udp" {
			conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
			if err != nil {
				return err
			}
			t.Cleanup(func() { conn.Close() })
			go func() {
				buffer := make([]byte, 64)
				for {
					_, peer, err := conn.ReadFromUDPAddrPort(buffer)
					if err != nil {
						return
					}
					_, _ = conn.WriteToUDPAddrPort([]byte(peer.String()), peer)
				}
			}()
			return nil
		}
		listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, conn.RemoteAddr().String())
				conn.Close()
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatalf("cannot serve %s %s: %v", network, address, err)
	}
}

// ErrNoAnswer is what Ask returns when nothing came back in time, as happens to
// what a firewall drops.
var ErrNoAnswer = errors.New("no answer")

// Ask makes a connection from source, an address of the namespace, to a server
// of Serve, and gives the address that the server saw.
func (n *Namespace) Ask(network string, source netip.Addr, destination netip.AddrPort, timeout time.Duration) (seen netip.AddrPort, err error) {
	err = n.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))}
		if network == "udp" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		}
		conn, err := dialer.DialContext(ctx, network, destination.String())
		if err != nil {
			var netErr net.Error
			if errors.As(err, &netErr) && netErr.Timeout() {
				return ErrNoAnswer
			}
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(timeout))
		if network == "udp" {
			if _, err := io.WriteString(conn, "?"); err != nil {
				return err
			}
		}
		buffer := make([]byte, 64)
		length, err := conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrNoAnswer
		}
		if err != nil {
			return err
		}
		seen, err = netip.ParseAddrPort(string(buffer[:length]))
		return err
	})
	return seen, err
}
