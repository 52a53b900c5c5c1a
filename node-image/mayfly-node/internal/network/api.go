package network

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type clients struct{ core, networking rest.Interface }

// newClients knows two API groups. client-go's clientset would bring all of
// them, at a cost in memory and start-up time that a daemon on each node should
// not have.
func newClients(kubeconfig, controlPlaneEndpoint string) (clients, error) {
	var config *rest.Config
	var err error
	if kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		config, err = rest.InClusterConfig()
	}
	if err != nil {
		return clients{}, fmt.Errorf("no way to the API server: %w", err)
	}
	if controlPlaneEndpoint != "" {
		if !strings.Contains(controlPlaneEndpoint, "://") {
			controlPlaneEndpoint = "https://" + controlPlaneEndpoint
		}
		config.Host = controlPlaneEndpoint
	}
	config.UserAgent = "mayfly-network"
	config.QPS = -1 // four lists and four watches: nothing to limit
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON

	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return clients{}, err
	}
	if err := networkingv1.AddToScheme(scheme); err != nil {
		return clients{}, err
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return clients{}, err
	}
	client := func(apiPath string, version schema.GroupVersion) rest.Interface {
		if err != nil {
			return nil
		}
		c := *config
		c.APIPath, c.GroupVersion = apiPath, &version
		var restClient *rest.RESTClient
		restClient, err = rest.RESTClientForConfigAndClient(&c, httpClient)
		return restClient
	}
	return clients{
		core:       client("/api", corev1.SchemeGroupVersion),
		networking: client("/apis", networkingv1.SchemeGroupVersion),
	}, err
}

// follow keeps store the image of a resource in all namespaces until ctx ends.
func follow(ctx context.Context, client rest.Interface, resource string, example runtime.Object, store cache.ReflectorStore) {
	cache.NewReflectorWithOptions(resourceAPI{client, resource}, example, store, cache.ReflectorOptions{
		Name: resource,
		// An API server that restarts is back within seconds, and until it is,
		// a refused connection costs nothing.
		Backoff: &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 1.5, Steps: 6, Cap: time.Second, Jitter: 0.1},
	}).RunWithContext(ctx)
}

// resourceAPI lists and watches one resource.
type resourceAPI struct {
	client   rest.Interface
	resource string
}

func (r resourceAPI) List(options metav1.ListOptions) (runtime.Object, error) {
	return r.ListWithContext(context.Background(), options)
}

func (r resourceAPI) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	return r.client.Get().Resource(r.resource).VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Get()
}

func (r resourceAPI) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return r.WatchWithContext(context.Background(), options)
}

func (r resourceAPI) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	return r.client.Get().Resource(r.resource).VersionedParams(&options, metav1.ParameterCodec).Watch(ctx)
}

// IsWatchListSemanticsUnSupported makes the reflector list before it watches. A
// streamed list ends only when the API server's watch cache has caught up with
// etcd, which takes some 100 ms more on an idle server than a list from the cache.
func (r resourceAPI) IsWatchListSemanticsUnSupported() bool { return true }

// mirror holds of each API object the few fields that matter here, which is what
// keeps the daemon small; it is the store under a reflector.
type mirror[T any] struct {
	convert func(runtime.Object) T
	// changed gets a value when list would return something new.
	changed chan struct{}
	// synced is closed when the first list from the API server is in.
	synced chan struct{}
	once   sync.Once

	mu    sync.Mutex
	items map[string]T
}

func newMirror[T any](convert func(runtime.Object) T) *mirror[T] {
	return &mirror[T]{convert: convert, changed: make(chan struct{}, 1), synced: make(chan struct{}), items: map[string]T{}}
}

func (m *mirror[T]) list() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.items))
}

func (m *mirror[T]) Add(obj any) error { return m.Update(obj) }

func (m *mirror[T]) Update(obj any) error {
	key, item, err := m.read(obj)
	if err != nil {
		return err
	}
	m.mu.Lock()
	old, known := m.items[key]
	m.items[key] = item
	m.mu.Unlock()
	// Most updates of a pod or a node are of fields that nobody here looks at.
	if !known || !reflect.DeepEqual(old, item) {
		m.notify()
	}
	return nil
}

func (m *mirror[T]) Delete(obj any) error {
	key, _, err := m.read(obj)
	if err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.items, key)
	m.mu.Unlock()
	m.notify()
	return nil
}

func (m *mirror[T]) Replace(objs []any, _ string) error {
	items := make(map[string]T, len(objs))
	for _, obj := range objs {
		key, item, err := m.read(obj)
		if err != nil {
			return err
		}
		items[key] = item
	}
	m.mu.Lock()
	m.items = items
	m.mu.Unlock()
	m.once.Do(func() { close(m.synced) })
	m.notify()
	return nil
}

func (m *mirror[T]) Resync() error { return nil }

func (m *mirror[T]) read(obj any) (string, T, error) {
	var none T
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return "", none, err
	}
	return accessor.GetNamespace() + "/" + accessor.GetName(), m.convert(obj.(runtime.Object)), nil
}

func (m *mirror[T]) notify() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}
