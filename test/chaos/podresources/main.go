// Command podresources prints the devices that a node's kubelet says it has given to
// pods, a line each. The soak puts it on the lab's nodes; it shares no code with the agent.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

const socket = "unix:///var/lib/kubelet/pod-resources/kubelet.sock"

func main() { os.Exit(run()) }

func run() int {
	if err := list(); err != nil {
		fmt.Fprintln(os.Stderr, "podresources:", err)
		return 1
	}
	return 0
}

func list() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := podresources.NewPodResourcesListerClient(conn)
	pods, err := client.List(ctx, &podresources.ListPodResourcesRequest{})
	if err != nil {
		return err
	}
	for _, pod := range pods.PodResources {
		for _, container := range pod.Containers {
			for _, d := range container.Devices {
				fmt.Printf("given %s/%s %s %v\n", pod.Namespace, pod.Name, d.ResourceName, d.DeviceIds)
			}
		}
	}
	allocatable, err := client.GetAllocatableResources(ctx, &podresources.AllocatableResourcesRequest{})
	if err != nil {
		return err
	}
	for _, d := range allocatable.Devices {
		fmt.Printf("allocatable %s %v\n", d.ResourceName, d.DeviceIds)
	}
	return nil
}
