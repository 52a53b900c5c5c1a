package network

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"mayfly.io/node-image/mayfly-node/internal/network/netnstest"
)

// The daemon runs as a process in the node's namespace: this test binary,
// started with the variable that asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("MAYFLY_TEST_DAEMON") == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	apiServerURL = "https://172.31.0.3:6443"
	adminToken   = "admin-token"
	daemonToken  = "daemon-token"
)

// TestDaemon follows a real API server, with no more rights than the manifest
// gives. MAYFLY_TEST_BINARIES names a directory with etcd and kubernetes, the
// node image's binary of all Kubernetes components.
func TestDaemon(t *testing.T) {
	binaries := os.Getenv("MAYFLY_TEST_BINARIES")
	if binaries == "" {
		t.Skip("MAYFLY_TEST_BINARIES is not set")
	}
	node, control := lan(t)
	node.IP(t, "route add default via 172.31.0.3")
	api := newAPI(t, control, binaries)
	daemon := startDaemon(t, node, api.dir)

	// As when a node boots: the daemon is there first.
	daemon.logged("connection refused")
	api.start()
	api.kubectl(renderedManifest(t), "create", "-f", "-")
	api.kubectl(nodeManifest("one", "10.244.0.0/24", "fd00:10:244::/64", "172.31.0.2", "fd99::2"), "create", "-f", "-")
	eventually(t, "CNI configuration of the node's subnets", func() bool {
		config, _ := os.ReadFile(filepath.Join(api.dir, "10-kindnet.conflist"))
		return bytes.Contains(config, []byte("10.244.0.0/24")) && bytes.Contains(config, []byte("fd00:10:244::/64"))
	})
	if err := node.Do(func() error { return get("http://127.0.0.1:10244/healthz") }); err != nil {
		t.Errorf("healthz: %v", err)
	}
	has := func(want string) func() bool {
		return func() bool { return ourRoutes(t, node) == want }
	}

	api.kubectl(nodeManifest("two", "10.244.1.0/24", "fd00:10:244:1::/64", "172.31.0.4", "fd99::4"), "create", "-f", "-")
	both := "10.244.1.0/24 via 172.31.0.4, fd00:10:244:1::/64 via fd99::4"
	eventually(t, "routes to the new node", has(both))
	node.IP(t, "route delete 10.244.1.0/24")
	eventually(t, "the route is back", has(both))
	configBefore, _ := os.ReadFile(filepath.Join(api.dir, "10-kindnet.conflist"))
	node.IP(t, "link set eth0 down")
	node.IP(t, "link set eth0 up")
	node.IP(t, "addr replace fd99::2/64 dev eth0 nodad") // went with the link
	eventually(t, "the routes are back after the interface was down", has(both))
	if config, _ := os.ReadFile(filepath.Join(api.dir, "10-kindnet.conflist")); !bytes.Equal(config, configBefore) {
		t.Errorf("the CNI configuration changed as the interface was down, to %s", config)
	}

	policyTable := func() string { return node.Run(t, "nft list tables") }
	api.kubectl("", "create", "serviceaccount", "default")
	api.kubectl(podManifest, "create", "-f", "-")
	api.kubectl("", "patch", "pod", "web", "--subresource=status", "--patch", `{"status": {"phase": "Running", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}, {"ip": "fd00:10:244::5"}]}}`)
	api.kubectl(policyManifest, "create", "-f", "-")
	eventually(t, "rules for the pod", func() bool {
		return strings.Contains(node.Run(t, "nft list ruleset"), "10.244.0.5 : goto ingress-")
	})

	api.stop()
	api.start()
	api.kubectl("", "delete", "networkpolicy", "nobody-in")
	eventually(t, "no rules once the policy is gone, after the API server was away", func() bool {
		return !strings.Contains(policyTable(), "mayfly-policy")
	})
	api.kubectl("", "delete", "node", "two")
	eventually(t, "no routes once the node is gone", has(""))

	api.kubectl(nodeManifest("three", "10.244.2.0/24", "fd00:10:244:2::/64", "172.31.0.5", "fd99::5"), "create", "-f", "-")
	third := "10.244.2.0/24 via 172.31.0.5, fd00:10:244:2::/64 via fd99::5"
	eventually(t, "routes to another node", has(third))
	daemon.stop()
	if got := ourRoutes(t, node); got != third {
		t.Errorf("after the daemon ended, routes are %q", got)
	}
}

func nodeManifest(name, cidr4, cidr6, ip4, ip6 string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Node
metadata: {name: %s}
spec: {podCIDR: "%s", podCIDRs: ["%[2]s", "%[3]s"]}
status: {addresses: [{type: InternalIP, address: "%[4]s"}, {type: InternalIP, address: "%[5]s"}]}
`, name, cidr4, cidr6, ip4, ip6)
}

const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: one, containers: [{name: web, image: web}]}
`

const policyManifest = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody-in}
spec: {podSelector: {matchLabels: {app: web}}}
`

// renderedManifest is the manifest as kind applies it.
func renderedManifest(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../manifests/default-cni.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rendered strings.Builder
	parsed := template.Must(template.New("").Parse(string(text)))
	if err := parsed.Execute(&rendered, struct{ PodSubnet string }{"10.244.0.0/16,fd00:10:244::/56"}); err != nil {
		t.Fatal(err)
	}
	return rendered.String()
}

func get(url string) error {
	// Not by net/http: its goroutines dial in the test's own namespace.
	out, err := exec.Command("curl", "--silent", "--show-error", "--fail", "--max-time", "10", url).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// api is etcd and an API server in a namespace.
type api struct {
	t             *testing.T
	ns            *netnstest.Namespace
	binaries, dir string
	server        *exec.Cmd
}

func newAPI(t *testing.T, ns *netnstest.Namespace, binaries string) *api {
	t.Helper()
	a := &api{t: t, ns: ns, binaries: binaries, dir: t.TempDir()}
	for _, name := range []string{"kube-apiserver", "kubectl"} {
		if err := os.Symlink(filepath.Join(binaries, "kubernetes"), filepath.Join(a.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a.write("sa.key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	a.write("tokens.csv", adminToken+",admin,1,system:masters\n"+daemonToken+",system:serviceaccount:kube-system:kindnet,2,system:authenticated\n")
	a.write("kubeconfig", `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://refused.invalid", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: `+daemonToken+`}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`)
	a.run(filepath.Join(binaries, "etcd"), "--data-dir", filepath.Join(a.dir, "etcd"), "--unsafe-no-fsync")
	return a
}

func (a *api) write(name, content string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// run starts a process in the namespace, to be killed at the test's end.
func (a *api) run(path string, args ...string) *exec.Cmd {
	a.t.Helper()
	command := exec.Command(path, args...)
	command.Dir = a.dir
	if err := a.ns.Do(command.Start); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	return command
}

func (a *api) start() {
	a.t.Helper()
	a.server = a.run(filepath.Join(a.dir, "kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379", "--cert-dir="+filepath.Join(a.dir, "certs"),
		"--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key",
		"--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=tokens.csv",
		"--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
		"--bind-address=172.31.0.3", "--advertise-address=172.31.0.3", "--secure-port=6443",
		"--shutdown-delay-duration=0s")
	eventually(a.t, "the API server is ready", func() bool {
		_, err := a.tryKubectl("", "get", "--raw", "/readyz")
		return err == nil
	})
}

func (a *api) stop() {
	_ = a.server.Process.Kill()
	_ = a.server.Wait()
}

func (a *api) kubectl(stdin string, args ...string) {
	a.t.Helper()
	if out, err := a.tryKubectl(stdin, args...); err != nil {
		a.t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
}

func (a *api) tryKubectl(stdin string, args ...string) (out []byte, err error) {
	args = append([]string{"--server", apiServerURL, "--token", adminToken, "--insecure-skip-tls-verify"}, args...)
	command := exec.Command(filepath.Join(a.dir, "kubectl"), args...)
	command.Stdin = strings.NewReader(stdin)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := a.ns.Do(command.Start); err != nil {
		return nil, err
	}
	err = command.Wait()
	return output.Bytes(), err
}

// daemon is the process under test.
type daemon struct {
	t       *testing.T
	command *exec.Cmd
	log     string
}

func startDaemon(t *testing.T, ns *netnstest.Namespace, dir string) *daemon {
	t.Helper()
	d := &daemon{t: t, log: filepath.Join(dir, "daemon.log")}
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d.command = exec.Command(self, "--kubeconfig", filepath.Join(dir, "kubeconfig"), "--cni-config", filepath.Join(dir, "10-kindnet.conflist"))
	d.command.Env = append(os.Environ(), "MAYFLY_TEST_DAEMON=1", "NODE_NAME=one",
		"POD_SUBNET=10.244.0.0/16,fd00:10:244::/56", "CONTROL_PLANE_ENDPOINT="+strings.TrimPrefix(apiServerURL, "https://"),
		"HOST_IP=172.31.0.2", "POD_IP=172.31.0.2")
	d.command.Stdout, d.command.Stderr = io.Writer(log), log
	if err := ns.Do(d.command.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.stop()
		log.Close()
		if t.Failed() {
			content, _ := os.ReadFile(d.log)
			t.Logf("the daemon's log:\n%s", content)
		}
	})
	return d
}

// logged waits for a new line of the log with this text.
func (d *daemon) logged(text string) {
	d.t.Helper()
	before, _ := os.ReadFile(d.log)
	eventually(d.t, "the daemon logs "+text, func() bool {
		now, _ := os.ReadFile(d.log)
		return bytes.Contains(now[len(before):], []byte(text))
	})
}

func (d *daemon) stop() {
	if d.command.ProcessState != nil {
		return
	}
	_ = d.command.Process.Signal(syscall.SIGTERM)
	if err := d.command.Wait(); err != nil {
		d.t.Errorf("the daemon ended with %v", err)
	}
}
