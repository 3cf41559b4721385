"""OpenCL: runtimes, devices, programs and launches. Nothing here touches a platform at import."""

from skintricate.backend.context import Device, open_device, open_devices
from skintricate.backend.devices import DeviceInfo, list_devices, select_device
from skintricate.backend.memory import Budget

__all__ = ["Budget", "Device", "DeviceInfo", "list_devices", "open_device", "open_devices", "select_device"]
