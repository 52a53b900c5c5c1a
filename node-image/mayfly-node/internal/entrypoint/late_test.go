package entrypoint

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMoveTree(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "late"), t.TempDir()
	for _, dir := range []string{from, to} {
		if err := os.MkdirAll(filepath.Join(dir, "etc/manifests"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(from, "etc/manifests/a.yaml"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := moveTree(from, to); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(to, "etc/manifests/a.yaml")); err != nil || string(content) != "a" {
		t.Errorf("got %q, %v", content, err)
	}
	if _, err := os.Stat(from); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := moveTree(from, to); err != nil {
		t.Errorf("nothing to move is an error: %v", err)
	}
}

func TestWaitForListenerSeesOneThatComesLate(t *testing.T) {
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := reserved.Addr().String()
	reserved.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seen := make(chan struct{})
	go func() {
		stage{Address: address}.wait(ctx)
		close(seen)
	}()
	select {
	case <-seen:
		t.Fatal("it did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	<-seen
	if ctx.Err() != nil {
		t.Error("it only gave up")
	}
}

// The API server takes connections long before it serves them.
func TestHandshakeIsWaitedFor(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if (stage{Address: silent.Addr().String(), TLS: true}).answers(ctx) {
		t.Error("a listener that says nothing counts as one that serves")
	}
	if !(stage{Address: silent.Addr().String()}).answers(t.Context()) {
		t.Error("a listener does not count as one")
	}
}
