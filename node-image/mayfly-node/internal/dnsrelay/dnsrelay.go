// Package dnsrelay carries DNS queries of pods that have IPv6 addresses only to
// a server that has none.
package dnsrelay

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"time"
)

const (
	// A resolver has long asked again by then.
	answerWithin = 5 * time.Second
	// Nobody keeps a connection longer for the answers to its queries.
	streamFor = time.Minute
	// The largest that UDP carries.
	packetSize = 64 << 10
)

// Serve passes what arrives on to the server, and its answers back, until ctx
// ends. It closes both listeners.
func Serve(ctx context.Context, packets net.PacketConn, streams net.Listener, server string) error {
	stop := context.AfterFunc(ctx, func() {
		packets.Close()
		streams.Close()
	})
	defer stop()
	failed := make(chan error, 2)
	go func() { failed <- servePackets(packets, server) }()
	go func() { failed <- serveStreams(streams, server) }()
	err := <-failed
	packets.Close()
	streams.Close()
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func servePackets(packets net.PacketConn, server string) error {
	buffer := make([]byte, packetSize)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return err
		}
		query := append([]byte(nil), buffer[:n]...)
		go func() {
			if err := relayPacket(packets, from, query, server); err != nil {
				log.Printf("query of %s: %v", from, err)
			}
		}()
	}
}

// relayPacket uses a port of its own for each query, as a resolver does.
func relayPacket(packets net.PacketConn, from net.Addr, query []byte, server string) error {
	upstream, err := net.Dial("udp", server)
	if err != nil {
		return err
	}
	defer upstream.Close()
	if err := upstream.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	if _, err := upstream.Write(query); err != nil {
		return err
	}
	answer := make([]byte, packetSize)
	n, err := upstream.Read(answer)
	if err != nil {
		return err
	}
	_, err = packets.WriteTo(answer[:n], from)
	return err
}

func serveStreams(streams net.Listener, server string) error {
	for {
		client, err := streams.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			upstream, err := net.DialTimeout("tcp", server, answerWithin)
			if err != nil {
				log.Printf("connection of %s: %v", client.RemoteAddr(), err)
				return
			}
			defer upstream.Close()
			deadline := time.Now().Add(streamFor)
			client.SetDeadline(deadline)
			upstream.SetDeadline(deadline)
			go func() {
				io.Copy(upstream, client)
				upstream.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(client, upstream)
		}()
	}
}
