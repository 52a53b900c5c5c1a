package entrypoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"mayfly.io/node-image/mayfly-node/internal/staticpods"
)

const (
	kubeletKubeconfig = "/etc/kubernetes/kubelet.conf"
	askEvery          = 10 * time.Millisecond
	// What never comes must not keep its own diagnosis from coming: a kubelet
	// tells more than its absence.
	askFor = 30 * time.Second
)

// RunAwaitAPI returns when the API server answers this node's kubelet. A kubelet
// that finds none tries again after seconds, and later each time.
func RunAwaitAPI(ctx context.Context, _ []string) error {
	wanted, err := readNodeDocument()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // kubeadm starts the kubelet when it wants it
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(staticpods.StartedMarker); wanted.Etcd != nil && err != nil {
		return nil // this kubelet is the one that starts the API server
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeletKubeconfig)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	// What every kubelet reads first. The authorizer for nodes is the last to be ready.
	url := config.Host + "/api/v1/nodes/" + name
	for {
		err := ask(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log.Printf("the kubelet starts without an API server: %v", err)
			return nil
		case <-time.After(askEvery):
		}
	}
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
