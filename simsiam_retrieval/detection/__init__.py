"""Transfer to detection: a pretrained ResNet inside torchvision's Faster or Mask R-CNN, fine-tuned and measured."""
