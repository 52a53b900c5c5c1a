package staticpods

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestConfigIsFoundInVerboseStatus(t *testing.T) {
	info := map[string]string{"info": `{"pid":1,"config":{"metadata":{"name":"etcd"},"log_path":"etcd/3.log"}}`}
	config, err := configOf[cri.ContainerConfig](info)
	if err != nil {
		t.Fatal(err)
	}
	if config.Metadata.Name != "etcd" || config.LogPath != "etcd/3.log" {
		t.Errorf("got %v", config)
	}
	if _, err := configOf[cri.ContainerConfig](map[string]string{"info": `{"pid":1}`}); err == nil {
		t.Error("a status without configuration is no error")
	}
}

func TestPodsForgetTheNodeTheyWereSavedOn(t *testing.T) {
	pod := forAnyNode(Pod{
		Sandbox: &cri.PodSandboxConfig{
			Metadata:  &cri.PodSandboxMetadata{Name: "etcd-a", Attempt: 2},
			DnsConfig: &cri.DNSConfig{Servers: []string{"172.28.0.1"}},
		},
		Containers: []*cri.ContainerConfig{{
			Metadata:    &cri.ContainerMetadata{Name: "etcd", Attempt: 4},
			LogPath:     "etcd/4.log",
			Annotations: map[string]string{restartAnnotation: "4", "io.kubernetes.container.hash": "f00"},
			Linux: &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{
				CpuShares: 102, HugepageLimits: []*cri.HugepageLimit{{PageSize: "2MB"}}, Unified: map[string]string{"memory.min": "1"},
			}},
		}},
	})
	got, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"","uid":"","sandbox":{"metadata":{"name":"etcd-a"}},"containers":[{"metadata":{"name":"etcd"},` +
		`"annotations":{"io.kubernetes.container.hash":"f00","io.kubernetes.container.restartCount":"0"},` +
		`"log_path":"etcd/0.log","linux":{"resources":{"cpu_shares":102}}}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWhatOthersWaitForStartsFirst(t *testing.T) {
	batches := inOrder([]Pod{{Name: "kube-scheduler"}, {Name: "etcd"}, {Name: "kube-controller-manager"}, {Name: "kube-apiserver"}})
	if len(batches[0]) != 2 || batches[0][0].Name != "etcd" || batches[0][1].Name != "kube-apiserver" || len(batches[1]) != 2 {
		t.Errorf("got %v", batches)
	}
}

func TestFilesOfThePodAreMadeBeforeItsContainer(t *testing.T) {
	dir := t.TempDir()
	pod := Pod{Sandbox: &cri.PodSandboxConfig{LogDirectory: filepath.Join(dir, "logs")}}
	container := &cri.ContainerConfig{LogPath: "etcd/0.log", Mounts: []*cri.Mount{
		{HostPath: filepath.Join(dir, "pods/uid/etc-hosts"), ContainerPath: "/etc/hosts"},
		{HostPath: filepath.Join(dir, "pods/uid/containers/etcd/1"), ContainerPath: "/dev/termination-log"},
		{HostPath: filepath.Join(dir, "elsewhere"), ContainerPath: "/etc/kubernetes/pki"},
	}}
	if err := prepare(pod, container, filepath.Join(dir, "pods")+"/"); err != nil {
		t.Fatal(err)
	}
	for path, isThere := range map[string]bool{"logs/etcd": true, "pods/uid/etc-hosts": true, "pods/uid/containers/etcd/1": true, "elsewhere": false} {
		if _, err := os.Stat(filepath.Join(dir, path)); (err == nil) != isThere {
			t.Errorf("%s: %v", path, err)
		}
	}
	hosts, err := os.ReadFile(filepath.Join(dir, "pods/uid/etc-hosts"))
	if err != nil || len(hosts) < len("# Kubernetes-managed") {
		t.Errorf("hosts file: %q, %v", hosts, err)
	}
}
