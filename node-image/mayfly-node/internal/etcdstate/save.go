package etcdstate

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const pkiDir = "/etc/kubernetes/pki/etcd/"

// endpoints are where etcd listens on its own node: kubeadm takes the loopback
// address of the cluster's primary family, and the client the one that answers.
var endpoints = []string{"https://127.0.0.1:2379", "https://[::1]:2379"}

// saveRequest is what `state-save` reads from standard input.
type saveRequest struct {
	// Omit lists patterns of keys to leave out, in the syntax of path.Match.
	Omit []string `json:"omit"`
}

// RunSave writes this control plane's state to standard output.
func RunSave(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("state-save", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return err
	}
	var request saveRequest
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return fmt.Errorf("read the request on standard input: %w", err)
	}
	client, err := Connect()
	if err != nil {
		return err
	}
	defer client.Close()
	entries, err := readAll(ctx, client)
	if err != nil {
		return err
	}
	packed := gzip.NewWriter(os.Stdout)
	lines := json.NewEncoder(packed)
	for _, entry := range entries {
		omitted, err := matchesAny(request.Omit, entry.Key)
		if err != nil {
			return err
		}
		if omitted {
			continue
		}
		if err := lines.Encode(entry); err != nil {
			return err
		}
	}
	return packed.Close()
}

// Connect opens a connection to the etcd of this node.
func Connect() (*clientv3.Client, error) {
	certificate, err := tls.LoadX509KeyPair(pkiDir+"server.crt", pkiDir+"server.key")
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	pem, err := os.ReadFile(pkiDir + "ca.crt")
	if err != nil {
		return nil, err
	}
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, errors.New(pkiDir + "ca.crt has no certificate")
	}
	return clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
		TLS:         &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: authorities},
	})
}

func readAll(ctx context.Context, client *clientv3.Client) ([]Entry, error) {
	response, err := client.Get(ctx, "/", clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read etcd's keys: %w", err)
	}
	entries := make([]Entry, len(response.Kvs))
	for i, kv := range response.Kvs {
		entries[i] = Entry{Key: string(kv.Key), Value: kv.Value}
	}
	return entries, nil
}

func matchesAny(patterns []string, key string) (bool, error) {
	for _, pattern := range patterns {
		matched, err := path.Match(pattern, key)
		if err != nil {
			return false, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		if matched {
			return true, nil
		}
	}
	return false, nil
}
