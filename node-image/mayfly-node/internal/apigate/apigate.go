// Package apigate keeps a node's connections to the API server waiting until
// there is one. A kubelet that is refused tries again after seconds, and later
// each time; one whose first packet is only on its way long asks for nothing a
// second time, and goes on in the moment in which the API server answers.
package apigate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	kubeletKubeconfig = "/etc/kubernetes/kubelet.conf"
	queueNumber       = 6443
	// ownMark is on the packets of the gate itself, which pass.
	ownMark  = 0x6d61
	chain    = "MAYFLY_GATE"
	askEvery = 10 * time.Millisecond
	// What never comes must not keep its own diagnosis from coming: a kubelet
	// that is refused tells more than one that waits.
	openAfter = 30 * time.Second
)

// Closed has the endpoint that the gate is closed for, from before systemd starts
// until the gate opens. mayfly-api-gate.service depends on it.
const Closed = "/run/mayfly-api-gate"

// Close makes first packets to the API server's endpoint wait for the gate to
// open. They pass while nobody minds the gate.
func Close(ctx context.Context, endpoint netip.AddrPort) error {
	rule := fmt.Sprintf("-A %s -d %s -p tcp --dport %d --syn -m mark ! --mark %#x -j NFQUEUE --queue-num %d --queue-bypass",
		chain, endpoint.Addr(), endpoint.Port(), ownMark, queueNumber)
	return restoreRules(ctx, endpoint.Addr(), ":"+chain+" - [0:0]", rule, "-A OUTPUT -j "+chain)
}

func open(ctx context.Context, address netip.Addr) error {
	return restoreRules(ctx, address, "-D OUTPUT -j "+chain, "-F "+chain, "-X "+chain)
}

func restoreRules(ctx context.Context, address netip.Addr, rules ...string) error {
	program := "iptables-restore"
	if address.Is6() {
		program = "ip6tables-restore"
	}
	restore := exec.CommandContext(ctx, program, "--noflush")
	restore.Stdin = strings.NewReader("*filter\n" + strings.Join(rules, "\n") + "\nCOMMIT\n")
	if output, err := restore.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// Mind holds what is on its way to the endpoint until the API server answers
// this node's kubelet, and opens the gate for good.
func Mind(ctx context.Context, endpoint netip.AddrPort) error {
	q, err := openQueue(queueNumber)
	if err != nil {
		return errors.Join(err, open(ctx, endpoint.Addr()))
	}
	defer q.close()
	held, failed := make(chan uint32), make(chan error, 1)
	go func() {
		for {
			ids, err := q.receive()
			if err != nil {
				failed <- err
				return
			}
			for _, id := range ids {
				held <- id
			}
		}
	}()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		limit, cancel := context.WithTimeout(ctx, openAfter)
		defer cancel()
		if err := waitForAnswer(limit); err != nil {
			log.Printf("no API server yet: %v", err)
		}
	}()
	var waiting []uint32
	for {
		select {
		case id := <-held:
			waiting = append(waiting, id)
		case err := <-failed:
			return errors.Join(err, open(ctx, endpoint.Addr()))
		case <-answered:
			for _, id := range waiting {
				if err := q.release(id); err != nil {
					return errors.Join(err, open(ctx, endpoint.Addr()))
				}
			}
			return open(ctx, endpoint.Addr())
		}
	}
}

// waitForAnswer asks what every kubelet reads first, as this node's kubelet. The
// authorizer for nodes is the last to be ready of all that it needs.
func waitForAnswer(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeletKubeconfig)
	if err != nil {
		return err
	}
	config.Dial = (&net.Dialer{Control: markOwn}).DialContext
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	url := config.Host + "/api/v1/nodes/" + name
	for {
		err := ask(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askEvery):
		}
	}
}

func markOwn(_, _ string, connection syscall.RawConn) error {
	var failed error
	err := connection.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, ownMark)
	})
	return errors.Join(err, failed)
}

func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body) // so that the connection is used again
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}
