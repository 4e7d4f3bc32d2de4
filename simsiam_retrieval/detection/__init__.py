"""Transfer to detection: a pretrained ResNet in torchvision's Faster or Mask R-CNN, fine-tuned and measured."""
