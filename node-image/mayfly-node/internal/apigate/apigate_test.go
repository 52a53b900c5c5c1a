package apigate

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mayfly.io/node-image/mayfly-node/internal/network/netnstest"
)

func TestConnectionsWaitAtTheGate(t *testing.T) {
	node := netnstest.New(t)
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		t.Skip("no command iptables-restore on this host")
	}
	node.IP(t, "address add 10.9.8.7/32 dev lo")
	endpoint := netip.MustParseAddrPort("10.9.8.7:6443")
	var gate *queue
	err := node.Do(func() (err error) {
		if err := Close(t.Context(), endpoint); err != nil {
			return err
		}
		gate, err = openQueue(queueNumber)
		return err
	})
	if err != nil {
		t.Skipf("this kernel holds no packets: %v", err)
	}
	defer gate.close()

	connected := make(chan error, 1)
	go func() {
		connected <- node.Do(func() error {
			connection, err := net.DialTimeout("tcp", endpoint.String(), 30*time.Second)
			if err == nil {
				connection.Close()
			}
			return err
		})
	}()
	// Nobody listens: whoever were let through would be refused by now.
	held, err := gate.receive()
	if err != nil || len(held) != 1 {
		t.Fatalf("held %v, %v", held, err)
	}
	select {
	case err := <-connected:
		t.Fatalf("it did not wait: %v", err)
	default:
	}

	node.Serve(t, "tcp", endpoint)
	if err := gate.release(held[0]); err != nil {
		t.Fatal(err)
	}
	if err := <-connected; err != nil {
		t.Errorf("not connected once released: %v", err)
	}
	if err := node.Do(func() error { return open(t.Context(), endpoint.Addr()) }); err != nil {
		t.Fatal(err)
	}
	if rules := node.Run(t, "iptables-save"); strings.Contains(rules, chain) {
		t.Errorf("the open gate has left rules:\n%s", rules)
	}
}
