package loadbalancer

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// serverSaying says who it is to everybody who connects.
func serverSaying(t *testing.T, who string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Write([]byte(who + "\n"))
			connection.Close()
		}
	}()
	return listener.Addr().String()
}

func TestServersComeAndGo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backends.json")
	changed := time.Now()
	name := func(servers ...string) {
		raw, err := json.Marshal(servers)
		if err != nil {
			t.Fatal(err)
		}
		changed = changed.Add(time.Second)
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	one, other := serverSaying(t, "one"), serverSaying(t, "other")
	name(one)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go Serve(t.Context(), listener, (&serverList{path: file}).current)
	ask := func() string {
		connection, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		line, _ := bufio.NewReader(connection).ReadString('\n')
		return line
	}
	if got := ask() + ask(); got != "one\none\n" {
		t.Errorf("got %q", got)
	}
	name(one, other)
	if got := ask() + ask(); got != "one\nother\n" && got != "other\none\n" {
		t.Errorf("with two: got %q", got)
	}
	name(other)
	if got := ask() + ask(); got != "other\nother\n" {
		t.Errorf("when one has gone: got %q", got)
	}
	name()
	if got := ask(); got != "other\n" {
		t.Errorf("with an empty list: got %q", got)
	}
}
