package dnsrelay

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// shoutingServer answers queries with what was asked, and an exclamation mark,
// on one port of both protocols.
func shoutingServer(t *testing.T) string {
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", streams.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { streams.Close(); packets.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			packets.WriteTo(append(buffer[:n:n], '!'), from)
		}
	}()
	go func() {
		for {
			connection, err := streams.Accept()
			if err != nil {
				return
			}
			asked, _ := io.ReadAll(connection)
			connection.Write(append(asked, '!'))
			connection.Close()
		}
	}()
	return streams.Addr().String()
}

func TestQueriesAreAnsweredByTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	streams, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	packets, err := net.ListenPacket("udp", streams.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, packets, streams, shoutingServer(t)) }()

	for _, question := range []string{"first", "second"} {
		client, err := net.Dial("udp", packets.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.SetDeadline(time.Now().Add(5 * time.Second))
		client.Write([]byte(question))
		answer := make([]byte, 512)
		n, err := client.Read(answer)
		if got := string(answer[:n]); err != nil || got != question+"!" {
			t.Errorf("over UDP %q is answered with %q, %v", question, got, err)
		}
	}
	client, err := net.Dial("tcp", streams.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(5 * time.Second))
	client.Write([]byte("long"))
	client.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(client); string(answer) != "long!" {
		t.Errorf("over TCP the answer is %q, %v", answer, err)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}
